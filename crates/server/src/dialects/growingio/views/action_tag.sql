SELECT
    arrow_cast(arrow_cast(coalesce(received_at, _commit_time), 'Timestamp(ms, "UTC")'), 'Int64') AS "sendTime",
    action_id AS "actionRequestId",
    rule_id AS "ruleId",
    coalesce(received_at, _commit_time) AS "sentAt"
FROM (
    SELECT
        received_at,
        _commit_time,
        action_id,
        unnest(rule_ids) AS rule_id
    FROM event
    WHERE type = 'action' AND request_type IS DISTINCT FROM 'imp'
)
