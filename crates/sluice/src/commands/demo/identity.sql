SELECT
    coalesce(CAST(customer_id AS VARCHAR), 'guest-' || invoice_no) AS id,
    max(CAST(customer_id AS VARCHAR)) AS individual_id,
    arrow_cast(min(invoice_date), 'Timestamp(us, "UTC")') AS created_at
FROM online_retail
GROUP BY coalesce(CAST(customer_id AS VARCHAR), 'guest-' || invoice_no)
