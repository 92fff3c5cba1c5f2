package compare

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// program is a column: something that mounts a bucket, or a plain directory.
type program struct {
	name string
	file string // looked up on PATH; "" for Pocket and the plain directory

	prepare func(ctx context.Context, p *place) error     // once, before the first mount
	command func(ctx context.Context, p *place) *exec.Cmd // stays in the foreground; nil: nothing is mounted
	caches  []string                                      // below the place's root: what a cold start does not have
	signal  bool                                          // ends by SIGINT; others by fusermount -u
}

// place is where a program works.
type place struct {
	root           string // a directory of its own
	mount          string
	endpoint       string // the proxy's URL
	bucket, prefix string // prefix ends in a slash
	region         string
	access, secret string
	pocket         string
}

func (p *place) in(name string) string { return filepath.Join(p.root, name) }

// environ is this process's environment without what would change what is measured.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "AWS_") || strings.HasPrefix(v, "RCLONE_") || strings.HasPrefix(v, "JFS_")
	})
}

// env is the environment of a command: keys are never among its arguments.
func (p *place) env(more ...string) []string {
	return append(append(environ(), "AWS_ACCESS_KEY_ID="+p.access, "AWS_SECRET_ACCESS_KEY="+p.secret, "AWS_REGION="+p.region,
		"ACCESS_KEY="+p.access, "SECRET_KEY="+p.secret), more...)
}

func command(ctx context.Context, env []string, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	return cmd
}

// programs are all columns, in the order of the table.
var programs = []program{
	pocketIn("buffered"),
	pocketIn("sync"),
	{
		name: "rclone", file: "rclone", caches: []string{"cache"},
		command: func(ctx context.Context, p *place) *exec.Cmd {
			return command(ctx, p.env("RCLONE_CONFIG="+p.in("rclone.conf"), "RCLONE_S3_PROVIDER=Other", "RCLONE_S3_ACCESS_KEY_ID="+p.access,
				"RCLONE_S3_SECRET_ACCESS_KEY="+p.secret, "RCLONE_S3_REGION="+p.region, "RCLONE_S3_ENDPOINT="+p.endpoint),
				"rclone", "mount", ":s3:"+p.bucket+"/"+strings.TrimSuffix(p.prefix, "/"), p.mount,
				"--vfs-cache-mode", "full", "--transfers", "16", "--cache-dir", p.in("cache"))
		},
		prepare: func(_ context.Context, p *place) error { return os.WriteFile(p.in("rclone.conf"), nil, 0o600) },
	},
	juicefs("juicefs"),
	juicefs("juicefs writeback", "--writeback"),
	{
		name: "geesefs", file: "geesefs",
		command: func(ctx context.Context, p *place) *exec.Cmd {
			return command(ctx, p.env(), "geesefs", "-f", "--endpoint", p.endpoint, "--region", p.region, p.bucket+":"+p.prefix, p.mount)
		},
	},
	{
		name: "s3fs", file: "s3fs",
		prepare: func(_ context.Context, p *place) error {
			return os.WriteFile(p.in("s3fs.passwd"), []byte(p.access+":"+p.secret+"\n"), 0o600)
		},
		command: func(ctx context.Context, p *place) *exec.Cmd {
			// Without keys in the environment: s3fs refuses to choose between them and the file.
			return command(ctx, environ(), "s3fs", p.bucket+":/"+strings.TrimSuffix(p.prefix, "/"), p.mount, "-f", "-o", "url="+p.endpoint,
				"-o", "use_path_request_style", "-o", "passwd_file="+p.in("s3fs.passwd"), "-o", "endpoint="+p.region)
		},
	},
	{name: plainName},
}

func pocketIn(mode string) program {
	return program{
		name: "pocket " + mode, caches: []string{"data"}, signal: true,
		prepare: func(_ context.Context, p *place) error {
			config := fmt.Sprintf(`[storages.bench]
backend = "s3"
mode = %q
[storages.bench.s3]
bucket = %q
endpoint = %q
region = %q
access_key_id = %q
secret_access_key = %q

[[mounts]]
name = "bench"
mount_path = %q
storage = "bench"
prefix = %q
`, mode, p.bucket, p.endpoint, p.region, p.access, p.secret, p.mount, p.prefix)
			return os.WriteFile(p.in("config.toml"), []byte(config), 0o600)
		},
		command: func(ctx context.Context, p *place) *exec.Cmd {
			return command(ctx, append(environ(), "XDG_DATA_HOME="+p.in("data")), p.pocket, "--config", p.in("config.toml"))
		},
	}
}

// juicefs keeps its metadata in SQLite, which a cold start keeps: for JuiceFS that is a
// service of its own, not a cache.
func juicefs(name string, flags ...string) program {
	meta := func(p *place) string { return "sqlite3://" + p.in("meta.db") }
	return program{
		name: name, file: "juicefs", caches: []string{"cache"},
		prepare: func(ctx context.Context, p *place) error {
			out, err := command(ctx, p.env(), "juicefs", "format", "--storage", "s3", "--bucket", p.endpoint+"/"+p.bucket,
				meta(p), strings.ReplaceAll(strings.Trim(p.prefix, "/"), "/", "-")).CombinedOutput()
			if err != nil {
				return fmt.Errorf("juicefs format: %w: %s", err, lastLine(string(out)))
			}
			return nil
		},
		command: func(ctx context.Context, p *place) *exec.Cmd {
			args := append([]string{"mount", "--no-usage-report", "--cache-dir", p.in("cache"), "--log", p.in("juicefs.log")}, flags...)
			return command(ctx, p.env(), "juicefs", append(args, meta(p), p.mount)...)
		},
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
