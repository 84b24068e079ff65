drop function
  segment_erase_statistics(), segment_erasure_finished(text), lake_recount(text), segment_erasure_files(text, text),
  segment_erase_rejects(bigint[]), segment_erase_user(text), segment_leave_awaited(text), segment_leave(text),
  segment_refuse_suppressed(bigint), segment_refuse_suppressed_in(regclass, bigint), segment_suppress(text),
  segment_user_hash(text), segment_suppressed(text[]);
drop table lake_removals, segment_suppressions, segment_suppression_key;
alter table segment_sources drop column suppressed;

revoke all on segment_rejects from segment_keeper;
revoke insert, update, delete on lake_fragments from segment_keeper;
