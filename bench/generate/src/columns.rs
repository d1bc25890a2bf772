//! The columns of an event under construction.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, ListBuilder, MapBuilder,
    RecordBatch, StringBuilder, StructArray, TimestampMicrosecondBuilder,
    TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Field};

/// One builder a column, the struct's fields apart.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(crate) event_id: StringBuilder,
    pub(crate) event_time: TimestampMillisecondBuilder,
    pub(crate) received_at: TimestampMicrosecondBuilder,
    pub(crate) event_name: StringBuilder,
    pub(crate) user_id: Int64Builder,
    pub(crate) session_id: StringBuilder,
    pub(crate) anonymous_id: StringBuilder,
    pub(crate) sequence: Int64Builder,
    pub(crate) url: StringBuilder,
    pub(crate) referrer: StringBuilder,
    pub(crate) page_title: StringBuilder,
    pub(crate) user_agent: StringBuilder,
    pub(crate) ip: StringBuilder,
    pub(crate) country: StringBuilder,
    pub(crate) city: StringBuilder,
    pub(crate) latitude: Float64Builder,
    pub(crate) is_new: BooleanBuilder,
    pub(crate) screen_width: Int32Builder,
    pub(crate) duration_ms: Int64Builder,
    pub(crate) scroll_depth: Float64Builder,
    pub(crate) revenue: Float64Builder,
    pub(crate) device_os: StringBuilder,
    pub(crate) device_version: StringBuilder,
    pub(crate) device_cores: Int32Builder,
    pub(crate) properties: MapBuilder<StringBuilder, StringBuilder>,
    pub(crate) tags: ListBuilder<StringBuilder>,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            event_id: StringBuilder::new(),
            event_time: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            received_at: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            event_name: StringBuilder::new(),
            user_id: Int64Builder::new(),
            session_id: StringBuilder::new(),
            anonymous_id: StringBuilder::new(),
            sequence: Int64Builder::new(),
            url: StringBuilder::new(),
            referrer: StringBuilder::new(),
            page_title: StringBuilder::new(),
            user_agent: StringBuilder::new(),
            ip: StringBuilder::new(),
            country: StringBuilder::new(),
            city: StringBuilder::new(),
            latitude: Float64Builder::new(),
            is_new: BooleanBuilder::new(),
            screen_width: Int32Builder::new(),
            duration_ms: Int64Builder::new(),
            scroll_depth: Float64Builder::new(),
            revenue: Float64Builder::new(),
            device_os: StringBuilder::new(),
            device_version: StringBuilder::new(),
            device_cores: Int32Builder::new(),
            properties: MapBuilder::new(None, StringBuilder::new(), StringBuilder::new()),
            tags: ListBuilder::new(StringBuilder::new()),
        }
    }
}

impl Columns {
    /// Returns the rows.
    pub(crate) fn finish(mut self) -> RecordBatch {
        let device = self.device();
        let columns: [(&str, ArrayRef); 24] = [
            ("event_id", Arc::new(self.event_id.finish())),
            ("event_time", Arc::new(self.event_time.finish())),
            ("received_at", Arc::new(self.received_at.finish())),
            ("event_name", Arc::new(self.event_name.finish())),
            ("user_id", Arc::new(self.user_id.finish())),
            ("session_id", Arc::new(self.session_id.finish())),
            ("anonymous_id", Arc::new(self.anonymous_id.finish())),
            ("sequence", Arc::new(self.sequence.finish())),
            ("url", Arc::new(self.url.finish())),
            ("referrer", Arc::new(self.referrer.finish())),
            ("page_title", Arc::new(self.page_title.finish())),
            ("user_agent", Arc::new(self.user_agent.finish())),
            ("ip", Arc::new(self.ip.finish())),
            ("country", Arc::new(self.country.finish())),
            ("city", Arc::new(self.city.finish())),
            ("latitude", Arc::new(self.latitude.finish())),
            ("is_new", Arc::new(self.is_new.finish())),
            ("screen_width", Arc::new(self.screen_width.finish())),
            ("duration_ms", Arc::new(self.duration_ms.finish())),
            ("scroll_depth", Arc::new(self.scroll_depth.finish())),
            ("revenue", Arc::new(self.revenue.finish())),
            ("device", device),
            ("properties", Arc::new(self.properties.finish())),
            ("tags", Arc::new(self.tags.finish())),
        ];
        let columns = columns.map(|(name, values)| (name, values, true));
        RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
    }

    fn device(&mut self) -> ArrayRef {
        let field = |name, kind| Arc::new(Field::new(name, kind, true));
        let fields: [(Arc<Field>, ArrayRef); 3] = [
            (field("os", DataType::Utf8), Arc::new(self.device_os.finish())),
            (field("version", DataType::Utf8), Arc::new(self.device_version.finish())),
            (field("cores", DataType::Int32), Arc::new(self.device_cores.finish())),
        ];
        Arc::new(StructArray::from(fields.to_vec()))
    }
}
