SELECT
    user_id AS "visitUserId",
    session_id AS "sessionId",
    arrow_cast(arrow_cast(time, 'Timestamp(ms, "UTC")'), 'Int64') AS "time",
    arrow_cast(arrow_cast(coalesce(received_at, _commit_time), 'Timestamp(ms, "UTC")'), 'Int64') AS "sendTime",
    domain AS "domain",
    properties AS "conversionVariable",
    coalesce(received_at, _commit_time) AS "sentAt"
FROM event
WHERE type = 'conversion_variables'
