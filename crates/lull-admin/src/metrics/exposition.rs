//! Metrics with their labels, and their way into text.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, GaugeValueEncoder, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

/// What the text is; Prometheus reads it since 2.5.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A value of one series.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    /// Counts and bytes, exact up to the last digit.
    Whole(u64),
    /// Seconds.
    Seconds(f64),
}

impl Number {
    /// Milliseconds, shown in seconds.
    pub(super) fn of_ms(ms: u64) -> Self {
        // Exact below 2^53 ms, which is 285,000 years.
        Self::Seconds(ms as f64 / 1000.0)
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<bool> for Number {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl EncodeGaugeValue for Number {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => value.encode(encoder),
            Self::Seconds(value) => value.encode(encoder),
        }
    }
}

/// Names and values of the labels of one series.
type Labels = Vec<(&'static str, String)>;

/// All series of one name. A set of labels occurs once: scrapers reject a text that repeats one.
#[derive(Debug)]
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    series: BTreeMap<Labels, Number>,
}

impl Family {
    /// Something that rises and falls.
    pub(super) fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, MetricType::Gauge)
    }

    /// Something that only grows while the process lives; the text adds `_total` to the name.
    pub(super) fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, MetricType::Counter)
    }

    /// Labels alone; the text adds `_info` to the name.
    pub(super) fn info(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, MetricType::Info)
    }

    fn new(name: &'static str, help: &'static str, kind: MetricType) -> Self {
        Self { name, help, unit: None, kind, series: BTreeMap::new() }
    }

    /// The same in this unit, which the text adds to the name.
    pub(super) fn of(self, unit: Unit) -> Self {
        Self { unit: Some(unit), ..self }
    }

    /// The value of the series with these labels.
    pub(super) fn put<const N: usize>(
        &mut self,
        labels: [(&'static str, &str); N],
        value: impl Into<Number>,
    ) {
        let labels = labels.map(|(name, text)| (name, text.to_owned()));
        self.series.insert(labels.into(), value.into());
    }

    /// One series of an info.
    pub(super) fn label<const N: usize>(&mut self, labels: [(&'static str, &str); N]) {
        self.put(labels, 1);
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, value) in &self.series {
            match (self.kind, value) {
                (MetricType::Info, _) => encoder.encode_info(labels)?,
                (MetricType::Counter, Number::Whole(value)) => {
                    encoder
                        .encode_family(labels)?
                        .encode_counter::<NoLabelSet, u64, f64>(value, None)?
                }
                (MetricType::Counter, Number::Seconds(value)) => {
                    encoder
                        .encode_family(labels)?
                        .encode_counter::<NoLabelSet, f64, f64>(value, None)?
                }
                // Without labels no empty braces either.
                _ if labels.is_empty() => encoder.encode_gauge(value)?,
                _ => encoder.encode_family(labels)?.encode_gauge(value)?,
            }
        }
        Ok(())
    }
}

/// All families of one scrape.
#[derive(Debug)]
pub(super) struct Exposition {
    families: Vec<Family>,
}

impl Exposition {
    /// The families in the order of the text; their names are distinct.
    pub(super) fn new(families: Vec<Family>) -> Self {
        Self { families }
    }

    /// The whole text with its end mark.
    pub(super) fn into_text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in self.families.iter().filter(|family| !family.series.is_empty()) {
            let Family { name, help, unit, kind, .. } = family;
            family.encode(encoder.encode_descriptor(name, help, unit.as_ref(), *kind)?)?;
        }
        Ok(())
    }
}
