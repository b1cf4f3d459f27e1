//! The client's half of the handshake.
