//! Primary keys as clients see them.

use redkite_proto::schema::i_ds::IdField;
use redkite_proto::schema::{IDs, LongArray, StringArray};
use redkite_types::{DataView, PrimaryKeys, VarView};

/// Keys for a response.
pub(crate) fn to_wire(keys: PrimaryKeys) -> IDs {
    IDs {
        id_field: Some(match keys {
            PrimaryKeys::Int64(data) => IdField::IntId(LongArray { data }),
            PrimaryKeys::VarChar(keys) => IdField::StrId(StringArray { data: strings(keys.view()) }),
        }),
    }
}

/// The keys in a primary key column, for a response.
pub(crate) fn column_to_wire(keys: DataView<'_>) -> IDs {
    let id_field = match keys {
        DataView::Int64(keys) => Some(IdField::IntId(LongArray { data: keys.to_vec() })),
        DataView::VarChar(keys) => Some(IdField::StrId(StringArray { data: strings(keys) })),
        _ => None,
    };
    IDs { id_field }
}

/// The texts of a VarChar column.
pub(crate) fn strings(texts: VarView<'_>) -> Vec<String> {
    (0..texts.len()).map(|row| texts.str(row).to_owned()).collect()
}
