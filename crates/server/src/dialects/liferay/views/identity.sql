SELECT
    id,
    person AS "individualId",
    created AS "createDate"
FROM (
    SELECT
        id,
        first_value(individual_id ORDER BY _commit DESC, individual_id DESC) FILTER (WHERE individual_id IS NOT NULL) AS person,
        arrow_cast(min(coalesce(created_at, _commit_time)), 'Timestamp(ms, "UTC")') AS created
    FROM identity
    GROUP BY id
)
WHERE NOT EXISTS (
    SELECT 1
    FROM (
        SELECT id AS suppressed_id, first_value(suppressed ORDER BY _commit DESC, modified_at DESC NULLS LAST, suppressed DESC) FILTER (WHERE suppressed IS NOT NULL) AS is_suppressed
        FROM individual
        GROUP BY id
    )
    WHERE is_suppressed AND suppressed_id = person
)
