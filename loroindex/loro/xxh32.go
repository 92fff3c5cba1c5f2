package loro

import (
	"encoding/binary"
	"math/bits"
)

// checksumSeed is the seed of every checksum in the format: "LORO" read as a
// little-endian integer.
const checksumSeed = 0x4f524f4c

const (
	xxPrime1 uint32 = 0x9E3779B1
	xxPrime2 uint32 = 0x85EBCA77
	xxPrime3 uint32 = 0xC2B2AE3D
	xxPrime4 uint32 = 0x27D4EB2F
	xxPrime5 uint32 = 0x165667B1
)

// checksum is xxHash32 with Loro's seed.
func checksum(b []byte) uint32 { return xxh32(b, checksumSeed) }

// xxh32 is the 32-bit xxHash, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md.
func xxh32(b []byte, seed uint32) uint32 {
	n := uint32(len(b))
	var h uint32
	if len(b) >= 16 {
		v1, v2, v3, v4 := seed+xxPrime1, seed, seed, seed
		v1 += xxPrime2
		v2 += xxPrime2
		v4 -= xxPrime1
		for len(b) >= 16 {
			v1 = xxRound(v1, binary.LittleEndian.Uint32(b[0:4]))
			v2 = xxRound(v2, binary.LittleEndian.Uint32(b[4:8]))
			v3 = xxRound(v3, binary.LittleEndian.Uint32(b[8:12]))
			v4 = xxRound(v4, binary.LittleEndian.Uint32(b[12:16]))
			b = b[16:]
		}
		h = bits.RotateLeft32(v1, 1) + bits.RotateLeft32(v2, 7) + bits.RotateLeft32(v3, 12) + bits.RotateLeft32(v4, 18)
	} else {
		h = seed + xxPrime5
	}
	h += n
	for len(b) >= 4 {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(b)*xxPrime3, 17) * xxPrime4
		b = b[4:]
	}
	for _, x := range b {
		h = bits.RotateLeft32(h+uint32(x)*xxPrime5, 11) * xxPrime1
	}
	h = (h ^ h>>15) * xxPrime2
	h = (h ^ h>>13) * xxPrime3
	return h ^ h>>16
}

func xxRound(acc, lane uint32) uint32 {
	return bits.RotateLeft32(acc+lane*xxPrime2, 13) * xxPrime1
}
