// Package standin is the other side of dll/winfsp.c: it plays the kernel's part for a Windows
// program that mounts a file system through the stand-in for winfsp-x64.dll, under Wine or
// on Windows itself.
//
// A test listens, starts the program with the variable of [Listener.Env] and with the DLL
// beside its exe, and gets a [Volume] for each mount:
//
//	l, err := standin.Listen()
//	cmd.Env = append(cmd.Env, l.Env())
//	v, err := l.Accept(ctx)
//	err = v.Begin(ctx)
//	f, err := v.Create("/new file")
//	f.Write([]byte("content"), 0)
//	f.Rename("/renamed", true)
//	f.SetFlags(standin.Hidden) // goes by the old path, as WinFsp does it
//	f.Close()
//
// The methods of [Volume] and [File] are what Windows programs do; each makes the
// callbacks that WinFsp makes of it, in its order. [Volume.Call] makes one callback.
// On Linux, [Volume.Mount] serves a volume as a Linux mount instead, for tests that work with
// files as programs do: with POCKET_E2E_WINE, package e2e does so with all of pocket.exe's.
//
// A drive is seen by the program from [Volume.Show] on. The end of the user's session is told
// to it by the program of endsession/.
//
// What the stand-in fakes is the driver: share modes, files that wait to be deleted, the
// data cache and junctions are not there. It shows that the program for Windows works,
// not that WinFsp does.
package standin
