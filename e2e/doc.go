// Package e2e tests the built programs as their users meet them: the binary of
// cmd/pocket with directories of its own for configuration and data, real mounts, and
// an S3 server in the test's process or a folder as the store.
//
//	go test ./e2e
//	go test ./e2e -run TestKill -count=10
//
// What every test relies on is in main_test.go (building, cleaning up), machine_test.go
// (a computer on which pocket runs), bucket_test.go (the store, and what arrives there)
// and tree_test.go (comparing directories). Nothing waits for time to pass: a test waits
// for a line on stderr, a request at the server or the end of a process, and gives up
// after a time that is long enough never to matter.
//
// Environment:
//
//	POCKET_E2E_BINARY  a pocket to test instead of building one
//	POCKET_E2E_KEEP    keep the temporary directories
//	POCKET_E2E_4GIB    also write and read a file of 4 GiB
//	POCKET_E2E_WINE    wine64: test pocket.exe on Linux; beside the given binary are the other
//	                   programs and a stand-in for WinFsp (package standin,
//	                   scripts/test-windows.sh)
//	POCKET_E2E_WINDOWS with it, which tests are also run as they are built for Windows (-run)
//
// A file _linux_test.go has what is Linux' alone, or needs Linux beside Wine; what is tested with a Windows
// and a WinFsp, and by the same code on Linux, is in the others.
package e2e
