SELECT
    page,
    max(title) AS title,
    CAST(count(*) FILTER (WHERE viewed) AS DOUBLE) AS views,
    CAST(count(*) FILTER (WHERE viewed AND is_first) AS DOUBLE) AS entrances,
    CAST(count(*) FILTER (WHERE viewed AND is_last) AS DOUBLE) AS exits,
    CAST(count(*) FILTER (WHERE viewed AND is_first AND is_last) AS DOUBLE) AS bounce,
    CAST(count(*) FILTER (WHERE name = 'ctaClicked') AS DOUBLE) AS cta_clicks,
    CAST(count(*) FILTER (WHERE viewed AND coalesce(referrer, '') = '') AS DOUBLE) AS direct_access,
    CAST(count(*) FILTER (WHERE viewed AND coalesce(referrer, '') <> '') AS DOUBLE) AS indirect_access,
    CAST(coalesce(sum(milliseconds), 0) AS DOUBLE) AS time_on_page,
    CAST(coalesce(max(depth), 0) AS DOUBLE) AS max_scroll_depth,
    CAST(count(DISTINCT session_id) AS DOUBLE) AS sessions,
    CAST(count(DISTINCT user_id) AS DOUBLE) AS visitors
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
            CASE name WHEN 'pageUnloaded' THEN TRY_CAST(properties['viewDuration'] AS BIGINT) END AS milliseconds,
            CASE name WHEN 'pageDepthReached' THEN TRY_CAST(properties['depth'] AS BIGINT) END AS depth
        FROM event
        WHERE coalesce(application, CASE type WHEN 'page' THEN 'Page' END) = 'Page'
            AND time >= {since} AND time < {until}
    )
)
GROUP BY page
