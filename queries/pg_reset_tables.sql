-- Back to pristine: empties events, memberships, outcomes, batches, rejects and sources. Only segment_owner and superusers may.
select segment_reset();
