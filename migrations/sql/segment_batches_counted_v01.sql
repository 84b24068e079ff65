-- A rebuild from a lake that goes on sees by it whether others have loaded events meanwhile.
grant select (events) on segment_batches to segment_loader;
