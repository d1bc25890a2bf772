SELECT
    arrow_cast(date_trunc('day', time), 'Timestamp(ms, "UTC")') AS "eventDate",
    page AS "canonicalUrl",
    max(title) AS title,
    max(description) AS description,
    max(property_id) AS "channelId",
    user_id AS "userId",
    session_id AS "sessionId",
    max(browser) AS "browserName",
    max(device_type) AS "deviceType",
    max(platform) AS "platformName",
    max(city) AS city,
    max(region) AS region,
    max(country) AS country,
    max(experiment_id) AS "experimentId",
    max(variant_id) AS "variantId",
    count(*) FILTER (WHERE viewed) AS views,
    count(*) FILTER (WHERE viewed AND is_first) AS entrances,
    count(*) FILTER (WHERE viewed AND is_last) AS exits,
    count(*) FILTER (WHERE viewed AND is_first AND is_last) AS bounce,
    count(*) FILTER (WHERE name = 'pageRead') AS reads,
    count(*) FILTER (WHERE name = 'ctaClicked') AS "ctaClicks",
    count(*) FILTER (WHERE viewed AND coalesce(referrer, '') = '') AS "directAccess",
    count(*) FILTER (WHERE viewed AND coalesce(referrer, '') <> '') AS "indirectAccess",
    coalesce(sum(milliseconds), 0) AS "timeOnPage"
FROM (
    SELECT
        *,
        row_number() OVER (PARTITION BY user_id, session_id ORDER BY viewed DESC, time, id) = 1 AS is_first,
        NOT coalesce(lead(viewed) OVER (PARTITION BY user_id, session_id ORDER BY viewed DESC, time, id), false) AS is_last
    FROM (
        SELECT
            *,
            coalesce(canonical_url, url) AS page,
            coalesce(name, CASE type WHEN 'page' THEN 'pageViewed' END, '') = 'pageViewed' AS viewed,
            CASE name WHEN 'pageUnloaded' THEN TRY_CAST(properties['viewDuration'] AS BIGINT) END AS milliseconds
        FROM event
        WHERE coalesce(application, CASE type WHEN 'page' THEN 'Page' END) = 'Page'
    )
)
GROUP BY date_trunc('day', time), page, user_id, session_id
