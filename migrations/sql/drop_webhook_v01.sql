drop function segment_adopt_server();
drop table webhook_dead_letters, webhook_cursors;
drop sequence webhook_dead_letter_id;
