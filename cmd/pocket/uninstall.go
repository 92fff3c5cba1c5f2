package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/hamflx/pocket/cmd/pocket/internal/session"
	"github.com/hamflx/pocket/fsimpl/fusehost"
	"github.com/hamflx/pocket/internal/aside"
	"github.com/hamflx/pocket/internal/config"
)

const usageUninstall = `pocket uninstall undoes pocket install.

Usage:
    pocket uninstall [options]

Options:
    --timeout TIME   upload for at most that (default 1m) and leave the rest in the journal
    --dry-run        say what would be done, and do nothing
    -h, --help       print this text

It is not started with the next login any more, what runs is stopped as by pocket stop, and
the programs are removed. The configuration, access keys, journal and cache stay; it says
where they are. What runs and does not answer, or takes half a minute more than its time to
end, is ended by force: what is not uploaded is in the journal. A program that is running, as
pocket uninstall itself may be on Windows, is moved to the directory for temporary files.

Example:
    $ pocket uninstall
    removed    /home/me/.config/systemd/user/pocket.service
    stopped    pid 4711
    removed    /home/me/.local/bin/pocket
    kept       /home/me/.config/hamflx/pocket
    kept       /home/me/.local/share/hamflx/pocket

Exit codes:
    0  done, or nothing was installed
    1  failed: the line says what is left
    2  wrong usage
    4  done, with changes left in the journal on this machine
`

// uninstall is the command of that name.
func uninstall(args []string, _ io.Reader, stdout, stderr io.Writer, env config.Env) int {
	i := newInstaller("uninstall", stdout, stderr, env)
	i.noConfig = "what is installed is one program for all"
	if code := i.parse(args, usageUninstall); code >= 0 {
		return code
	}
	if i.timeout <= 0 {
		return i.wrong("--timeout must be more than nothing")
	}
	ctx, end := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer end()
	if err := i.open(); err != nil {
		i.say("%v", err)
		return exitFailed
	}
	_, hasEntry, err := i.site.Entry.Load()
	if err != nil {
		i.say("%v", err)
		return exitFailed
	}
	if err := i.findReplaced(ctx, ""); err != nil {
		i.sayEach(err)
	}
	programs := i.site.Programs()
	if !hasEntry && len(programs) == 0 && len(i.running) == 0 {
		i.say("nothing is installed")
		return exitClean
	}
	if i.dryRun {
		if hasEntry {
			i.did("removed", "%v", i.site.Entry)
		}
		for _, p := range i.running {
			i.did("stopped", "pid %d", p.PID)
		}
		for _, path := range programs {
			i.did("removed", "%s", path)
		}
		return exitClean
	}
	return i.uninstall(ctx, hasEntry)
}

func (i *installer) uninstall(ctx context.Context, hasEntry bool) int {
	// It ends before its entry goes: a supervisor that does not know it any more would
	// neither stop it nor tell.
	if err := i.stopRunning(ctx); err != nil {
		i.sayEach(err)
		i.say("it is still installed")
		return exitFailed
	}
	i.clearKilled()
	if hasEntry {
		if err := i.site.Entry.Remove(ctx); err != nil {
			i.sayEach(err)
			return exitFailed
		}
		i.did("removed", "%v", i.site.Entry)
	}
	removed, err := i.site.RemovePrograms()
	for _, r := range removed {
		if r.Aside != "" {
			i.did("removed", "%s (it is running: moved to %s, which can be deleted)", r.Path, r.Aside)
			continue
		}
		i.did("removed", "%s", r.Path)
	}
	for _, pid := range i.site.Running() {
		i.say("process %d still runs %s and was not asked to stop: end it, or log off", pid, i.site.Program())
	}
	if file, _ := config.Locate("", i.env); file != "" && filepath.Dir(file) != i.env.Dir {
		i.sayKept(filepath.Dir(file))
	}
	i.sayKept(i.dataDir)
	switch {
	case err != nil:
		i.sayEach(err)
		return exitFailed
	case i.left:
		return exitLate
	}
	return exitClean
}

// clearKilled takes away what killed processes have left mounted, and moves back what they had
// moved aside: no pocket will start that does it.
func (i *installer) clearKilled() {
	log := slog.New(slog.DiscardHandler)
	o := session.Options{DataDir: i.dataDir, Log: log}.AsideOptions()
	for _, p := range i.killed {
		cfg, err := config.Load(p.Config, i.env)
		if err != nil {
			i.sayEach(err)
			i.say("what process %d had mounted is not known", p.PID)
			continue
		}
		records, err := aside.Records(o)
		if err != nil {
			i.sayEach(err)
		}
		for _, m := range cfg.Mounts {
			if err := fusehost.ClearDead(m.Path, log); err != nil {
				i.say("%s: %s", m.Name, oneLine(err))
			}
			for _, r := range records {
				if r.Mount == m.Path {
					i.restored(o, r)
				}
			}
		}
	}
}

// sayKept tells of a directory that stays.
func (i *installer) sayKept(dir string) {
	if _, err := os.Stat(dir); err == nil {
		i.did("kept", "%s", dir)
	}
}
