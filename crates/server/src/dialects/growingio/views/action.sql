SELECT
    user_id AS "visitUserId",
    session_id AS "sessionId",
    request_type AS "requestType",
    domain AS "domain",
    path AS "page",
    arrow_cast(arrow_cast(coalesce(received_at, _commit_time), 'Timestamp(ms, "UTC")'), 'Int64') AS "sendTime",
    arrow_cast(arrow_cast(time, 'Timestamp(ms, "UTC")'), 'Int64') AS "time",
    href AS "href",
    value AS "requestValue",
    position AS "index",
    info AS "info",
    page_id AS "pageRequestId",
    action_id AS "actionRequestId",
    coalesce(received_at, _commit_time) AS "sentAt"
FROM event
WHERE type = 'action' AND request_type IS DISTINCT FROM 'imp'
