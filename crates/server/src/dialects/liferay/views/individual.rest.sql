SELECT
    id,
    named_struct(
        'gender', gender,
        'givenName', first_name,
        'familyName', last_name,
        'birthDate', birthday,
        'email', email
    ) AS demographics,
    created AS "dateCreated"
FROM (
    SELECT
        id,
        first_value(gender ORDER BY _commit DESC, modified_at DESC NULLS LAST, gender DESC) FILTER (WHERE gender IS NOT NULL) AS gender,
        first_value(first_name ORDER BY _commit DESC, modified_at DESC NULLS LAST, first_name DESC) FILTER (WHERE first_name IS NOT NULL) AS first_name,
        first_value(last_name ORDER BY _commit DESC, modified_at DESC NULLS LAST, last_name DESC) FILTER (WHERE last_name IS NOT NULL) AS last_name,
        first_value(birthday ORDER BY _commit DESC, modified_at DESC NULLS LAST, birthday DESC) FILTER (WHERE birthday IS NOT NULL) AS birthday,
        first_value(email ORDER BY _commit DESC, modified_at DESC NULLS LAST, email DESC) FILTER (WHERE email IS NOT NULL) AS email,
        arrow_cast(min(coalesce(created_at, _commit_time)), 'Timestamp(ms, "UTC")') AS created
    FROM individual
    GROUP BY id
    HAVING NOT coalesce(first_value(suppressed ORDER BY _commit DESC, modified_at DESC NULLS LAST, suppressed DESC) FILTER (WHERE suppressed IS NOT NULL), false)
)
