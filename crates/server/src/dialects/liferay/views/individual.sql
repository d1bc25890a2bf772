SELECT
    id,
    first_value(email ORDER BY _commit DESC, modified_at DESC NULLS LAST, email DESC) FILTER (WHERE email IS NOT NULL) AS "emailAddress",
    first_value(first_name ORDER BY _commit DESC, modified_at DESC NULLS LAST, first_name DESC) FILTER (WHERE first_name IS NOT NULL) AS "firstName",
    first_value(middle_name ORDER BY _commit DESC, modified_at DESC NULLS LAST, middle_name DESC) FILTER (WHERE middle_name IS NOT NULL) AS "middleName",
    first_value(last_name ORDER BY _commit DESC, modified_at DESC NULLS LAST, last_name DESC) FILTER (WHERE last_name IS NOT NULL) AS "lastName",
    first_value(screen_name ORDER BY _commit DESC, modified_at DESC NULLS LAST, screen_name DESC) FILTER (WHERE screen_name IS NOT NULL) AS "screenName",
    first_value(job_title ORDER BY _commit DESC, modified_at DESC NULLS LAST, job_title DESC) FILTER (WHERE job_title IS NOT NULL) AS "jobTitle",
    first_value(birthday ORDER BY _commit DESC, modified_at DESC NULLS LAST, birthday DESC) FILTER (WHERE birthday IS NOT NULL) AS birthday,
    first_value(language ORDER BY _commit DESC, modified_at DESC NULLS LAST, language DESC) FILTER (WHERE language IS NOT NULL) AS "languageId",
    rename_fields(
        arrow_cast(
            first_value(fields ORDER BY _commit DESC, modified_at DESC NULLS LAST) FILTER (WHERE fields IS NOT NULL),
            'List(Struct("source_id": Int64, "name": Utf8, "value": Utf8, "modified_at": Timestamp(ms, "UTC")))'
        ),
        'dataSourceId', 'name', 'value', 'modifiedDate'
    ) AS fields,
    first_value(groups ORDER BY _commit DESC, modified_at DESC NULLS LAST) FILTER (WHERE groups IS NOT NULL) AS memberships,
    arrow_cast(min(coalesce(created_at, _commit_time)), 'Timestamp(ms, "UTC")') AS "createDate",
    arrow_cast(max(coalesce(modified_at, _commit_time)), 'Timestamp(ms, "UTC")') AS "modifiedDate",
    coalesce(first_value(suppressed ORDER BY _commit DESC, modified_at DESC NULLS LAST, suppressed DESC) FILTER (WHERE suppressed IS NOT NULL), false) AS suppressed
FROM individual
GROUP BY id
HAVING NOT coalesce(first_value(suppressed ORDER BY _commit DESC, modified_at DESC NULLS LAST, suppressed DESC) FILTER (WHERE suppressed IS NOT NULL), false)
