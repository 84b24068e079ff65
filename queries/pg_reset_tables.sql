-- Back to pristine: empties events, memberships, outcomes, batches, rejects and sources, and forgets the lakes. Only segment_owner and superusers may.
select segment_reset();
