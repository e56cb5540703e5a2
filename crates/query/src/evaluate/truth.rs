//! Three-valued answers (Kleene) for many rows.

use redkite_types::{Bitmap, ColumnView};

/// TRUE, FALSE or UNKNOWN for each row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Truth {
    /// TRUE rows.
    pub(super) yes: Bitmap,
    /// UNKNOWN rows, none of them in `yes`; `None` if there are none.
    pub(super) unknown: Option<Bitmap>,
}

impl Truth {
    pub(super) fn known(yes: Bitmap) -> Self {
        Self { yes, unknown: None }
    }

    /// Answers that are UNKNOWN where any of the columns is null.
    pub(super) fn of_valid(mut yes: Bitmap, columns: &[ColumnView<'_>]) -> Self {
        let mut unknown: Option<Bitmap> = None;
        for validity in columns.iter().filter_map(|column| column.validity) {
            yes.and(validity);
            let mut missing = validity.clone();
            missing.flip();
            match &mut unknown {
                Some(unknown) => unknown.or(&missing),
                None => unknown = Some(missing),
            }
        }
        Self { yes, unknown }
    }

    /// Rows that are not FALSE.
    pub(super) fn maybe(&self) -> Bitmap {
        let mut maybe = self.yes.clone();
        if let Some(unknown) = &self.unknown {
            maybe.or(unknown);
        }
        maybe
    }

    pub(super) fn not(self) -> Self {
        let mut yes = self.maybe();
        yes.flip();
        Self { yes, unknown: self.unknown }
    }

    pub(super) fn and(self, other: Self) -> Self {
        let unknown = (self.unknown.is_some() || other.unknown.is_some()).then(|| {
            let mut maybe = self.maybe();
            maybe.and(&other.maybe());
            maybe
        });
        let mut yes = self.yes;
        yes.and(&other.yes);
        Self::from_maybe(yes, unknown)
    }

    pub(super) fn or(self, other: Self) -> Self {
        let mut yes = self.yes;
        yes.or(&other.yes);
        let unknown = match (self.unknown, other.unknown) {
            (Some(mut left), Some(right)) => {
                left.or(&right);
                Some(left)
            }
            (left, right) => left.or(right),
        };
        Self::from_maybe(yes, unknown)
    }

    fn from_maybe(yes: Bitmap, maybe: Option<Bitmap>) -> Self {
        let unknown = maybe.map(|mut maybe| {
            maybe.and_not(&yes);
            maybe
        });
        Self { yes, unknown }
    }
}
