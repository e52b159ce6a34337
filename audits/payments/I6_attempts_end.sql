-- I6 attempts_end
-- Somebody goes on asking the provider: no attempt lies due and unanswered for longer than the grace.
-- about: payment
-- repair: human
select payment_id as id, format('%s number %s is due since %s', kind, number, due_time) as detail
from attempt
where state = 'PENDING' and due_time < now() - :'grace'::interval
