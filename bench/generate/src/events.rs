//! Wide customer events, made up but shaped like real ones: 24 columns, few frequent values and a long
//! tail of rare ones, nulls, text outside ASCII, quotes and line breaks, and nested values.
//!
//! Batch `n` of a seed is always the same, whatever was made before it.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::columns::Columns;
use crate::random::{Random, Zipf};

/// Rows of one batch.
pub(crate) const BATCH_ROWS: usize = 8192;

/// Milliseconds of 2026-01-01T00:00:00Z, where the events begin.
const START_MS: i64 = 1_767_225_600_000;

/// Distinct pages.
const PAGES: usize = 5000;

/// Distinct browsers.
const AGENTS: usize = 300;

const SECTIONS: [&str; 8] =
    ["shop", "blog", "konto", "produkte", "hilfe", "suche", "checkout", "angebote"];
const TITLES: [&str; 10] = [
    "Schöne Grüße aus Köln: Möbel für draußen",
    "Crème brûlée à l'ancienne — recettes",
    "東京の週末セール | 今だけ30%オフ",
    "Łódź, Gdańsk i Kraków: dostawa następnego dnia",
    "Новинки сезона «Осень»",
    "Summer sale 🌞 everything must go",
    "¿Dónde está mi pedido?",
    "عروض نهاية الأسبوع",
    "Plain title, with a comma and \"quotes\"",
    "Home",
];
const NAMES: [&str; 12] = [
    "page_view",
    "scroll",
    "click",
    "add_to_cart",
    "search",
    "video_start",
    "login",
    "checkout",
    "purchase",
    "remove_from_cart",
    "signup",
    "error",
];
const COUNTRIES: [&str; 10] = ["DE", "US", "FR", "GB", "PL", "JP", "BR", "IN", "ES", "AT"];
const CITIES: [&str; 10] = [
    "München",
    "New York",
    "Orléans",
    "London",
    "Łódź",
    "東京",
    "São Paulo",
    "मुंबई",
    "Málaga",
    "Wien",
];
const SYSTEMS: [&str; 5] = ["Windows", "Android", "iOS", "macOS", "Linux"];
const WIDTHS: [i32; 7] = [360, 390, 768, 1280, 1440, 1920, 2560];
const CORES: [i32; 6] = [2, 4, 6, 8, 12, 16];
const KEYS: [&str; 8] =
    ["campaign", "experiment", "query", "note", "coupon", "variant", "source", "comment"];
const VALUES: [&str; 8] = [
    "spring-2026",
    "she said \"yes\" twice",
    "first line\nsecond line",
    "a\\b\\c",
    "100 %; a, b",
    "größer als 5 €",
    "{\"nested\":\"looks like JSON\"}",
    "\ttabbed",
];
const TAGS: [&str; 8] = ["new", "vip", "mobile", "sale", "b2b", "größe-xl", "returning", "test"];

/// Makes batches of events.
#[derive(Debug)]
pub(crate) struct Events {
    seed: u64,
    pages: Zipf,
    agents: Zipf,
    names: Zipf,
}

impl Events {
    /// Makes the events of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            pages: Zipf::new(PAGES),
            agents: Zipf::new(AGENTS),
            names: Zipf::new(NAMES.len()),
        }
    }

    /// Returns the columns of every batch.
    pub(crate) fn schema() -> SchemaRef {
        Columns::default().finish().schema()
    }

    /// Returns batch number `number`, of up to [`BATCH_ROWS`] rows.
    pub(crate) fn batch(&self, number: u64, rows: usize) -> RecordBatch {
        assert!(rows <= BATCH_ROWS, "a batch has a fixed place in the stream of numbers");
        let mut random = Random::new(self.seed, number);
        let mut columns = Columns::default();
        let first = number * BATCH_ROWS as u64;
        for row in 0..rows as u64 {
            self.identity(&mut columns, &mut random, first + row);
            self.page(&mut columns, &mut random);
            place(&mut columns, &mut random);
            measures(&mut columns, &mut random);
            nested(&mut columns, &mut random);
        }
        columns.finish()
    }

    fn identity(&self, columns: &mut Columns, random: &mut Random, row: u64) {
        // About a hundred events a second; what is received late is received up to a minute late.
        let at_ms = START_MS + signed(row) * 10 + signed(random.below(500));
        let late_us =
            if random.chance(5) { random.below(60_000_000) } else { random.below(900_000) };
        let user = random.chance(70).then(|| 9_007_199_254_740_993 + signed(random.below(400_000)));
        columns.event_id.append_value(format!("{:016x}{:016x}", random.next(), random.next()));
        columns.event_time.append_value(at_ms);
        columns.received_at.append_value(at_ms * 1000 + signed(late_us));
        columns.event_name.append_value(NAMES[self.names.rank(random)]);
        columns.user_id.append_option(user);
        columns.session_id.append_value(format!("s-{:x}", row / 17 * 31 + random.below(40)));
        // A browser keeps its id: the same few hundred thousand come back.
        let mut visitor = Random::new(self.seed, u64::MAX - random.below(700_000));
        let visitor = format!("{:016x}{:016x}", visitor.next(), visitor.next());
        columns.anonymous_id.append_value(visitor);
        columns.sequence.append_value(signed(row));
    }

    fn page(&self, columns: &mut Columns, random: &mut Random) {
        let page = self.pages.rank(random);
        let section = SECTIONS[page % SECTIONS.len()];
        columns.url.append_value(if random.chance(25) {
            let campaign = random.below(90);
            format!("https://www.example.com/{section}/artikel-{page}?utm_campaign=c{campaign}&q=gr%C3%BCn")
        } else {
            format!("https://www.example.com/{section}/artikel-{page}")
        });
        let referrer = self.pages.rank(random);
        columns.referrer.append_option(
            random.chance(40).then(|| format!("https://search.example.net/?r={referrer}")),
        );
        columns.page_title.append_value(format!("{} ({page})", TITLES[page % TITLES.len()]));
        let agent = self.agents.rank(random);
        columns.user_agent.append_value(format!(
            "Mozilla/5.0 ({}; rv:{}.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.{}.0 Safari/537.36",
            SYSTEMS[agent % SYSTEMS.len()],
            90 + agent % 40,
            100 + agent % 30,
            agent * 7,
        ));
    }
}

fn place(columns: &mut Columns, random: &mut Random) {
    let n = random.next();
    columns.ip.append_value(format!("203.0.{}.{}", n & 255, (n >> 8) & 255));
    columns.country.append_value(random.one(&COUNTRIES));
    let city = random.one(&CITIES);
    columns.city.append_option(random.chance(60).then_some(city));
    columns.latitude.append_value(random.unit() * 180.0 - 90.0);
    columns.is_new.append_option((!random.chance(3)).then_some(n & 1 == 0));
}

fn measures(columns: &mut Columns, random: &mut Random) {
    columns.screen_width.append_value(random.one(&WIDTHS));
    let spent = random.below(1_800_000);
    columns.duration_ms.append_option(random.chance(80).then(|| signed(spent * spent / 1_800_000)));
    columns.scroll_depth.append_option(random.chance(50).then(|| random.unit()));
    let cents = i32::try_from(random.below(50_000)).expect("small");
    columns.revenue.append_option(random.chance(4).then(|| f64::from(cents) / 100.0));
}

fn nested(columns: &mut Columns, random: &mut Random) {
    columns.device_os.append_value(random.one(&SYSTEMS));
    let version = random.below(20);
    columns.device_version.append_option(random.chance(90).then(|| format!("{version}.1")));
    columns.device_cores.append_value(random.one(&CORES));
    // Neighbours in a ring, so that no key comes twice.
    let first = random.index(KEYS.len());
    for key in first..first + random.index(5) {
        columns.properties.keys().append_value(KEYS[key % KEYS.len()]);
        columns.properties.values().append_value(random.one(&VALUES));
    }
    columns.properties.append(true).expect("as many keys as values");
    for _ in 0..random.below(4) {
        columns.tags.values().append_value(random.one(&TAGS));
    }
    columns.tags.append(!random.chance(10));
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("far below 2^63")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_does_not_depend_on_those_before_it() {
        let events = Events::new(7);
        let _ = events.batch(0, BATCH_ROWS);
        assert_eq!(events.batch(3, 100), Events::new(7).batch(3, 100));
        assert_ne!(events.batch(3, 100), Events::new(8).batch(3, 100));
        assert_ne!(events.batch(3, 100), events.batch(4, 100));
    }

    #[test]
    fn events_are_wide_and_awkward() {
        let events = Events::new(7);
        let batch = events.batch(0, 1000);
        assert_eq!(batch.schema(), Events::schema());
        assert_eq!(batch.num_columns(), 24);
        let text =
            arrow::util::pretty::pretty_format_batches(&[batch]).expect("printable").to_string();
        for piece in ["東京", "said \"yes\"", "second line", "90071992547"] {
            assert!(text.contains(piece), "no {piece}");
        }
    }
}
