"""Pictures with attribute values: read, checked, split by product, decoded, augmented, drawn and batched."""
