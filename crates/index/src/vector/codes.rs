//! Codes in an index file.

use redkite_types::Metric;

use super::IndexError;
use super::file::{Artifact, CodesMeta, File, Section, Slice, Values};
use super::quantizer::{Quantizer, Width};
use super::scorer::CodeScorer;

/// Opened codes.
#[derive(Debug)]
pub(crate) struct Codes {
    quantizer: Quantizer,
    rows: Slice<u8>,
    /// Squared norms, for L2.
    terms: Option<Slice<f32>>,
}

impl Codes {
    /// The codes of a file, if it has some.
    pub(crate) fn open(file: &File) -> Result<Option<Self>, IndexError> {
        let meta = file.meta();
        let Some(CodesMeta { bits, step }) = meta.codes else { return Ok(None) };
        let width =
            Width::from_bits(bits).ok_or(IndexError::Damaged { what: "width of codes", offset: 0 })?;
        let metric = meta.spec.metric;
        let centre = file.get(&file.section::<f32>(Section::CodeCentre, meta.dim)?).to_vec();
        let bytes = meta.rows.saturating_mul(width.stride(meta.dim));
        let terms =
            (metric == Metric::L2).then(|| file.section(Section::CodeTerms, meta.rows)).transpose()?;
        Ok(Some(Self {
            quantizer: Quantizer::from_parts(width, metric, centre, step),
            rows: file.section(Section::Codes, bytes)?,
            terms,
        }))
    }

    /// Puts codes into a file.
    pub(crate) fn push(
        artifact: &mut Artifact,
        quantizer: &Quantizer,
        codes: Vec<u8>,
        terms: impl IntoIterator<Item = (f32, i32)>,
        metric: Metric,
    ) {
        artifact.push(Section::CodeCentre, Values::F32(quantizer.centre().to_vec()));
        artifact.push(Section::Codes, Values::U8(codes));
        if metric == Metric::L2 {
            let norms = terms.into_iter().map(|(norm, _)| norm).collect();
            artifact.push(Section::CodeTerms, Values::F32(norms));
        }
    }

    /// Distances from a query to the code rows of `file`.
    pub(crate) fn aim<'a>(
        &self,
        file: &'a File,
        query: &[f32],
        query_codes: &'a mut Vec<i8>,
        products: &'a mut Vec<i32>,
    ) -> CodeScorer<'a> {
        let terms = self.terms.as_ref().map(|terms| file.get(terms));
        self.quantizer.aim(query, file.get(&self.rows), terms, query_codes, products)
    }
}

impl From<&Quantizer> for CodesMeta {
    fn from(quantizer: &Quantizer) -> Self {
        Self { bits: quantizer.width.bits(), step: quantizer.step() }
    }
}
