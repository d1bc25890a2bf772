SELECT
    user_id AS "ownerId",
    arrow_cast(time, 'Timestamp(ms, "UTC")') AS "startTime",
    coalesce(application, CASE type WHEN 'page' THEN 'Page' ELSE 'Custom' END) AS "applicationId",
    coalesce(name, type) AS "eventId",
    properties AS "eventProperties"
FROM event
