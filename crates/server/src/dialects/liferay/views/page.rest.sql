SELECT
    title,
    page AS url,
    named_struct(
        'avgTimeOnPageMetric', named_struct(
            'value', CASE WHEN views = 0 THEN 0.0 ELSE time_on_page / views END,
            'previousValue', arrow_cast(NULL, 'Float64'),
            'trend', named_struct('percentage', arrow_cast(NULL, 'Float64'), 'trendClassification', 'NEUTRAL')
        ),
        'bounceMetric', named_struct(
            'value', bounce,
            'previousValue', arrow_cast(NULL, 'Float64'),
            'trend', named_struct('percentage', arrow_cast(NULL, 'Float64'), 'trendClassification', 'NEUTRAL')
        ),
        'bounceRateMetric', named_struct(
            'value', CASE WHEN entrances = 0 THEN 0.0 ELSE bounce / entrances END,
            'previousValue', arrow_cast(NULL, 'Float64'),
            'trend', named_struct('percentage', arrow_cast(NULL, 'Float64'), 'trendClassification', 'NEUTRAL')
        ),
        'ctpMetric', named_struct(
            'value', cta_clicks,
            'previousValue', arrow_cast(NULL, 'Float64'),
            'trend', named_struct('percentage', arrow_cast(NULL, 'Float64'), 'trendClassification', 'NEUTRAL')
        ),
        'ctrMetric', named_struct(
            'value', CASE WHEN views = 0 THEN 0.0 ELSE cta_clicks / views END,
            'previousValue', arrow_cast(NULL, 'Float64'),
            'trend', named_struct('percentage', arrow_cast(NULL, 'Float64'), 'trendClassification', 'NEUTRAL')
        ),
        'directAccessMetric', named_struct(
            'value', direct_access,
            'previousValue', arrow_cast(NULL, 'Float64'),
            'trend', named_struct('percentage', arrow_cast(NULL, 'Float64'), 'trendClassification', 'NEUTRAL')
        ),
        'entrancesMetric', named_struct(
            'value', entrances,
            'previousValue', arrow_cast(NULL, 'Float64'),
            'trend', named_struct('percentage', arrow_cast(NULL, 'Float64'), 'trendClassification', 'NEUTRAL')
        ),
        'exitRateMetric', named_struct(
            'value', CASE WHEN views = 0 THEN 0.0 ELSE exits / views END,
            'previousValue', arrow_cast(NULL, 'Float64'),
            'trend', named_struct('percentage', arrow_cast(NULL, 'Float64'), 'trendClassification', 'NEUTRAL')
        ),
        'indirectAccessMetric', named_struct(
            'value', indirect_access,
            'previousValue', arrow_cast(NULL, 'Float64'),
            'trend', named_struct('percentage', arrow_cast(NULL, 'Float64'), 'trendClassification', 'NEUTRAL')
        ),
        'maxScrollDepthMetric', named_struct(
            'value', max_scroll_depth,
            'previousValue', arrow_cast(NULL, 'Float64'),
            'trend', named_struct('percentage', arrow_cast(NULL, 'Float64'), 'trendClassification', 'NEUTRAL')
        ),
        'sessionsMetric', named_struct(
            'value', sessions,
            'previousValue', arrow_cast(NULL, 'Float64'),
            'trend', named_struct('percentage', arrow_cast(NULL, 'Float64'), 'trendClassification', 'NEUTRAL')
        ),
        'timeOnPageMetric', named_struct(
            'value', time_on_page,
            'previousValue', arrow_cast(NULL, 'Float64'),
            'trend', named_struct('percentage', arrow_cast(NULL, 'Float64'), 'trendClassification', 'NEUTRAL')
        ),
        'viewsMetric', named_struct(
            'value', views,
            'previousValue', arrow_cast(NULL, 'Float64'),
            'trend', named_struct('percentage', arrow_cast(NULL, 'Float64'), 'trendClassification', 'NEUTRAL')
        ),
        'visitorsMetric', named_struct(
            'value', visitors,
            'previousValue', arrow_cast(NULL, 'Float64'),
            'trend', named_struct('percentage', arrow_cast(NULL, 'Float64'), 'trendClassification', 'NEUTRAL')
        )
    ) AS metrics
FROM (
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
        )
    )
    GROUP BY page
)
