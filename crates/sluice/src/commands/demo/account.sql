SELECT
    CAST(customer_id AS VARCHAR) AS id,
    max(country) AS billing_country,
    CAST(1 AS BIGINT) AS individuals,
    arrow_cast(min(invoice_date), 'Timestamp(us, "UTC")') AS created_at,
    arrow_cast(max(invoice_date), 'Timestamp(us, "UTC")') AS modified_at
FROM online_retail
WHERE customer_id IS NOT NULL
GROUP BY customer_id
