// Package testdisk has small disks for tests that fill them, on Linux.
package testdisk
