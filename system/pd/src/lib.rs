//! sel4cp-pd.
