package main

// cksum is the checksum of POSIX cksum(1): a CRC with the polynomial of
// Ethernet, most significant bit first, over the data and then its length in as
// few bytes as it takes, least significant first, and inverted at the end. It
// is not the CRC-32 of hash/crc32, which goes by the least significant bit.
func cksum(data []byte) uint32 {
	sum := uint32(0)
	feed := func(b byte) { sum = sum<<8 ^ cksumTable[byte(sum>>24)^b] }
	for _, b := range data {
		feed(b)
	}
	for length := len(data); length > 0; length >>= 8 {
		feed(byte(length))
	}
	return ^sum
}

const cksumPolynomial = 0x04c11db7

var cksumTable = makeCksumTable()

func makeCksumTable() (table [256]uint32) {
	for at := range table {
		value := uint32(at) << 24
		for range 8 {
			if value&(1<<31) != 0 {
				value = value<<1 ^ cksumPolynomial
			} else {
				value <<= 1
			}
		}
		table[at] = value
	}
	return table
}
