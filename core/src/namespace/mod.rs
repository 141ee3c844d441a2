//! The file-system tree.
