SELECT
    CAST(row_number() OVER (ORDER BY country) AS BIGINT) AS id,
    'Customers from ' || country AS name,
    'DYNAMIC' AS type,
    'READY' AS state,
    'ACTIVE' AS status,
    'country eq ''' || country || '''' AS filter,
    false AS include_anonymous,
    individuals,
    individuals AS identities,
    created_at,
    modified_at
FROM (
    SELECT
        country,
        CAST(count(DISTINCT customer_id) AS BIGINT) AS individuals,
        arrow_cast(min(invoice_date), 'Timestamp(us, "UTC")') AS created_at,
        arrow_cast(max(invoice_date), 'Timestamp(us, "UTC")') AS modified_at
    FROM online_retail
    GROUP BY country
)
