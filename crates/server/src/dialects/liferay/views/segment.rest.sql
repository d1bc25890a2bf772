SELECT
    CAST(id AS VARCHAR) AS id,
    first_value(name ORDER BY _commit DESC, modified_at DESC NULLS LAST, name DESC) FILTER (WHERE name IS NOT NULL) AS name,
    first_value(type ORDER BY _commit DESC, modified_at DESC NULLS LAST, type DESC) FILTER (WHERE type IS NOT NULL) AS "segmentType",
    arrow_cast(min(coalesce(created_at, _commit_time)), 'Timestamp(ms, "UTC")') AS "dateCreated",
    coalesce(first_value(identities ORDER BY _commit DESC, modified_at DESC NULLS LAST, identities DESC) FILTER (WHERE identities IS NOT NULL), 0) AS "individualCount",
    coalesce(first_value(individuals ORDER BY _commit DESC, modified_at DESC NULLS LAST, individuals DESC) FILTER (WHERE individuals IS NOT NULL), 0) AS "knownIndividualCount",
    coalesce(first_value(include_anonymous ORDER BY _commit DESC, modified_at DESC NULLS LAST, include_anonymous DESC) FILTER (WHERE include_anonymous IS NOT NULL), false) AS "includeAnonymousUsers"
FROM segment
GROUP BY id
