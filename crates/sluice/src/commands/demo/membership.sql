SELECT
    CAST(row_number() OVER (ORDER BY country, customer_id) AS BIGINT) AS id,
    CAST(dense_rank() OVER (ORDER BY country) AS BIGINT) AS segment_id,
    CAST(customer_id AS VARCHAR) AS identity_id,
    CAST(customer_id AS VARCHAR) AS individual_id,
    'ACTIVE' AS status,
    first_at AS created_at,
    first_at AS modified_at
FROM (
    SELECT
        country,
        customer_id,
        arrow_cast(min(invoice_date), 'Timestamp(us, "UTC")') AS first_at
    FROM online_retail
    GROUP BY country, customer_id
)
WHERE customer_id IS NOT NULL
