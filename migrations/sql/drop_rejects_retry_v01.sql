revoke delete on segment_rejects from segment_loader;

comment on column segment_sources.rejected is 'Lines that went to segment_rejects.';
