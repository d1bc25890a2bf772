SELECT
    id,
    first_value(segment_id ORDER BY _commit DESC, modified_at DESC NULLS LAST, segment_id DESC) FILTER (WHERE segment_id IS NOT NULL) AS "segmentId",
    first_value(identity_id ORDER BY _commit DESC, modified_at DESC NULLS LAST, identity_id DESC) FILTER (WHERE identity_id IS NOT NULL) AS "identityId",
    first_value(individual_id ORDER BY _commit DESC, modified_at DESC NULLS LAST, individual_id DESC) FILTER (WHERE individual_id IS NOT NULL) AS "individualId",
    first_value(property_id ORDER BY _commit DESC, modified_at DESC NULLS LAST, property_id DESC) FILTER (WHERE property_id IS NOT NULL) AS "channelId",
    first_value(status ORDER BY _commit DESC, modified_at DESC NULLS LAST, status DESC) FILTER (WHERE status IS NOT NULL) AS status,
    arrow_cast(min(coalesce(created_at, _commit_time)), 'Timestamp(ms, "UTC")') AS "createDate",
    arrow_cast(max(coalesce(modified_at, _commit_time)), 'Timestamp(ms, "UTC")') AS "modifiedDate",
    arrow_cast(first_value(removed_at ORDER BY _commit DESC, modified_at DESC NULLS LAST, removed_at DESC) FILTER (WHERE removed_at IS NOT NULL), 'Timestamp(ms, "UTC")') AS "removedDate"
FROM membership
GROUP BY id
