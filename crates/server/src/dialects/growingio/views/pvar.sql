SELECT
    user_id AS "visitUserId",
    session_id AS "sessionId",
    arrow_cast(arrow_cast(time, 'Timestamp(ms, "UTC")'), 'Int64') AS "time",
    arrow_cast(arrow_cast(coalesce(received_at, _commit_time), 'Timestamp(ms, "UTC")'), 'Int64') AS "sendTime",
    arrow_cast(arrow_cast(page_time, 'Timestamp(ms, "UTC")'), 'Int64') AS "pageTime",
    domain AS "domain",
    path AS "page",
    properties AS "pageVariable",
    page_id AS "pageRequestId",
    coalesce(received_at, _commit_time) AS "sentAt"
FROM event
WHERE type = 'page_variables'
