// Package testdisk gives tests trouble with disks: small ones to fill, on Linux, and files that
// another program has open, on Windows.
package testdisk
