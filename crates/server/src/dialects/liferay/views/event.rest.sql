SELECT
    user_id AS "ownerId",
    arrow_cast(time, 'Timestamp(ms, "UTC")') AS "startTime",
    coalesce(application, CASE type WHEN 'page' THEN 'Page' ELSE 'Custom' END) AS "applicationId",
    coalesce(name, CASE type WHEN 'page' THEN 'pageViewed' ELSE type END) AS "eventId",
    properties AS "eventProperties"
FROM event
