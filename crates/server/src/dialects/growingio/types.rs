//! The data types: which view each is, and which columns of it an export has.
//!
//! Contract: a workspace that has a view of a type's name gets its rows instead; what it is to be is told in `docs/guides/map-your-data.md`. Columns
//! and their order are those of the vendor's tables, since clients that drop the header go by place.

use super::Settings;

/// The column of each view that says in which slot a row is (GI-10).
pub(super) const TIME: &str = "sentAt";

/// A data type.
#[derive(Debug)]
pub(super) struct DataType {
    /// In the path, as it is.
    pub(super) name: &'static str,
    /// The view.
    pub(super) view: &'static str,
    /// What it is, unless a workspace has its own.
    pub(super) sql: &'static str,
    /// The columns that every export has, in order.
    pub(super) columns: &'static [&'static str],
    /// Those that the vendor appended in 2020 (GI-41).
    pub(super) later: &'static [&'static str],
    /// Those that export 1.0 alone had (GI-41).
    pub(super) geography: &'static [&'static str],
    /// Whether export 1.0 has the type.
    pub(super) v1: bool,
}

/// One that export 1.0 has, without columns that only some exports have.
const fn data_type(
    name: &'static str,
    view: &'static str,
    sql: &'static str,
    columns: &'static [&'static str],
) -> DataType {
    DataType { name, view, sql, columns, later: &[], geography: &[], v1: true }
}

/// All of them (GI-40); `vstr`, which only newer pages of the vendor have, is last.
pub(super) static TYPES: [DataType; 10] = [
    DataType {
        geography: &["countryName", "region", "city"],
        ..data_type(
            "visit",
            "growingio.visit",
            include_str!("views/visit.sql"),
            &[
                "visitUserId",
                "sessionId",
                "accountVersion",
                "platform",
                "domain",
                "page",
                "queryParameters",
                "referrer",
                "language",
                "screenHeight",
                "screenWidth",
                "time",
                "sendTime",
                "ip",
                "userAgent",
                "operatingSystem",
                "operatingSystemVersion",
                "clientVersion",
                "channel",
                "deviceBrand",
                "deviceModel",
                "deviceType",
                "deviceOrientation",
                "latitude",
                "longitude",
                "vstRequestId",
                "idfa",
                "androidId",
                "IMEI",
            ],
        )
    },
    data_type(
        "page",
        "growingio.page",
        include_str!("views/page.sql"),
        &[
            "visitUserId",
            "sessionId",
            "platform",
            "domain",
            "page",
            "queryParameters",
            "referrer",
            "referrerPage",
            "title",
            "time",
            "sendTime",
            "deviceOrientation",
            "loginUserId",
            "pageGroup",
            "appVariable",
            "customerAttributes2",
            "customerAttributes3",
            "customerAttributes4",
            "customerAttributes5",
            "customerAttributes6",
            "customerAttributes7",
            "customerAttributes8",
            "customerAttributes9",
            "customerAttributes10",
            "pageAttributes1",
            "pageAttributes2",
            "pageAttributes3",
            "pageAttributes4",
            "pageAttributes5",
            "pageAttributes6",
            "pageAttributes7",
            "pageAttributes8",
            "pageAttributes9",
            "pageAttributes10",
            "pageRequestId",
            "vstRequestId",
        ],
    ),
    data_type(
        "action",
        "growingio.action",
        include_str!("views/action.sql"),
        &[
            "visitUserId",
            "sessionId",
            "requestType",
            "domain",
            "page",
            "sendTime",
            "time",
            "href",
            "requestValue",
            "index",
            "info",
            "pageRequestId",
            "actionRequestId",
        ],
    ),
    data_type(
        "action_tag",
        "growingio.action_tag",
        include_str!("views/action_tag.sql"),
        &["sendTime", "actionRequestId", "ruleId"],
    ),
    data_type(
        "custom_event",
        "growingio.custom_event",
        include_str!("views/custom_event.sql"),
        &[
            "visitUserId",
            "sessionId",
            "time",
            "sendTime",
            "pageTime",
            "domain",
            "page",
            "queryParameters",
            "eventName",
            "eventNumber",
            "eventVariable",
            "loginUserId",
            "pageRequestId",
        ],
    ),
    DataType {
        later: &["OAID"],
        ..data_type(
            "ads_track_activation",
            "growingio.ads_track_activation",
            include_str!("views/ads_track_activation.sql"),
            &[
                "visitUserId",
                "idfa",
                "imei",
                "uuid",
                "androidId",
                "ip",
                "userAgent",
                "platform",
                "operatingSystemVersion",
                "sendTime",
                "linkId",
                "campaignId",
                "channelId",
                "linkName",
                "campaignName",
                "channelName",
                "adsVariable",
            ],
        )
    },
    DataType {
        later: &["OAID", "clickUrl"],
        ..data_type(
            "ads_track_click",
            "growingio.ads_track_click",
            include_str!("views/ads_track_click.sql"),
            &[
                "idfa",
                "imei",
                "uuid",
                "androidId",
                "ip",
                "userAgent",
                "platform",
                "operatingSystemVersion",
                "eventTime",
                "linkId",
                "campaignId",
                "channelId",
                "linkName",
                "campaignName",
                "channelName",
                "adsVariable",
            ],
        )
    },
    DataType {
        v1: false,
        ..data_type(
            "pvar",
            "growingio.pvar",
            include_str!("views/pvar.sql"),
            &[
                "visitUserId",
                "sessionId",
                "time",
                "sendTime",
                "pageTime",
                "domain",
                "page",
                "pageVariable",
                "pageRequestId",
            ],
        )
    },
    DataType {
        v1: false,
        ..data_type(
            "evar",
            "growingio.evar",
            include_str!("views/evar.sql"),
            &["visitUserId", "sessionId", "time", "sendTime", "domain", "conversionVariable"],
        )
    },
    DataType {
        v1: false,
        ..data_type(
            "vstr",
            "growingio.vstr",
            include_str!("views/vstr.sql"),
            &["visitUserId", "sessionId", "time", "sendTime", "visitorVariable"],
        )
    },
];

impl DataType {
    /// Returns the type of that name, in its exact spelling.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        TYPES.iter().find(|one| one.name == name)
    }

    /// Returns the select list of an export. Names are quoted, since some are words of SQL (`index`, `time`).
    pub(super) fn select(&self, settings: &Settings) -> String {
        let later = if settings.later_columns { self.later } else { &[] };
        let geography = if settings.geography_columns { self.geography } else { &[] };
        let names = self.columns.iter().chain(later).chain(geography);
        names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    /// The names of the columns that a view returns, each on a line of its own.
    fn outputs(sql: &'static str) -> Vec<&'static str> {
        let name = |line: &'static str| {
            let line = line.trim_end_matches(',').strip_suffix('"')?;
            line.rsplit_once(" AS \"").map(|(_, name)| name)
        };
        sql.lines().filter_map(name).collect()
    }

    #[test]
    fn every_type_has_as_many_columns_as_the_vendor_documents() {
        let counts = TYPES.each_ref().map(|one| (one.name, one.columns.len()));
        assert_eq!(
            counts,
            [
                ("visit", 29),
                ("page", 36),
                ("action", 13),
                ("action_tag", 3),
                ("custom_event", 13),
                ("ads_track_activation", 17),
                ("ads_track_click", 16),
                ("pvar", 9),
                ("evar", 6),
                ("vstr", 5),
            ]
        );
    }

    #[test]
    fn every_view_returns_the_columns_in_order_and_then_the_instant_of_the_slot() {
        for one in &TYPES {
            let parts = [one.columns, one.later, one.geography, &[TIME]];
            assert_eq!(outputs(one.sql), parts.concat(), "{}", one.name);
            assert_eq!(one.view, format!("growingio.{}", one.name));
        }
    }

    #[test]
    fn export_1_0_has_seven_types() {
        let first = TYPES.iter().position(|one| !one.v1);
        assert_eq!((first, TYPES.iter().filter(|one| one.v1).count()), (Some(7), 7));
    }

    #[test]
    fn names_are_found_as_they_are_written() {
        for one in &TYPES {
            assert_eq!(DataType::named(one.name).map(|found| found.view), Some(one.view));
        }
        for name in ["Visit", "visits", ""] {
            assert!(DataType::named(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_select_list_is_quoted_and_has_more_where_it_is_asked_for() {
        let select = |name, later_columns, geography_columns| {
            let settings = Settings { later_columns, geography_columns, ..settings() };
            DataType::named(name).expect("there is one").select(&settings)
        };
        let tag = r#""sendTime", "actionRequestId", "ruleId""#;
        assert_eq!(select("action_tag", false, false), tag);
        assert_eq!(select("action_tag", true, true), tag);
        let click = select("ads_track_click", false, true);
        assert!(click.ends_with(r#", "adsVariable""#), "{click}");
        let click = select("ads_track_click", true, false);
        assert!(click.ends_with(r#", "adsVariable", "OAID", "clickUrl""#), "{click}");
        let visit = select("visit", true, false);
        assert!(visit.ends_with(r#", "androidId", "IMEI""#), "{visit}");
        let visit = select("visit", false, true);
        assert!(visit.ends_with(r#", "IMEI", "countryName", "region", "city""#), "{visit}");
    }
}
