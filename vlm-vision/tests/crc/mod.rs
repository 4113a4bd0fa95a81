//! CRC-32 as Python's `zlib.crc32` computes it: what the fixtures keep of large results.

/// The checksum of some bytes.
pub fn crc32(bytes: impl IntoIterator<Item = u8>) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: u8| (0..8).fold(crc ^ u32::from(byte), step);
    !bytes.into_iter().fold(!0, byte)
}
