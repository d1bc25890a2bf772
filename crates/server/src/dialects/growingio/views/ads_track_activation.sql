SELECT
    user_id AS "visitUserId",
    idfa AS "idfa",
    imei AS "imei",
    ad_uuid AS "uuid",
    android_id AS "androidId",
    ip AS "ip",
    user_agent AS "userAgent",
    platform AS "platform",
    os_version AS "operatingSystemVersion",
    arrow_cast(arrow_cast(coalesce(received_at, _commit_time), 'Timestamp(ms, "UTC")'), 'Int64') AS "sendTime",
    ad_link_id AS "linkId",
    ad_campaign_id AS "campaignId",
    ad_channel_id AS "channelId",
    ad_link_name AS "linkName",
    ad_campaign_name AS "campaignName",
    ad_channel_name AS "channelName",
    properties AS "adsVariable",
    oaid AS "OAID",
    coalesce(received_at, _commit_time) AS "sentAt"
FROM event
WHERE type = 'ad_activation'
