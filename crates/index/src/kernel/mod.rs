//! How far apart are two vectors, as fast as this processor can tell?
