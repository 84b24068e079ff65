-- A line is loaded and leaves the quarantine in one transaction: loader rejects retry.
grant delete on segment_rejects to segment_loader;

comment on column segment_sources.rejected is 'Lines that went to segment_rejects, but for those that left it again.';
