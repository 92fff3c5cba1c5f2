package storetest_test

import (
	"context"
	"errors"
	"iter"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/memstore"
	"github.com/hamflx/pocket/objstore/storetest"
)

// store is a store in memory, parts of which the test below breaks.
type store struct {
	*memstore.Store
	get       func(ctx context.Context, key string, max int64) ([]byte, error)
	put       func(ctx context.Context, key string, body []byte) error
	list      func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error]
	del       func(ctx context.Context, key string) error
	ifChanged func(ctx context.Context, key, etag string, max int64) ([]byte, string, error)
	stat      func(ctx context.Context, key string) (objstore.Info, error)
}

func (s *store) Get(ctx context.Context, key string, max int64) ([]byte, error) {
	return s.get(ctx, key, max)
}
func (s *store) Put(ctx context.Context, key string, body []byte) error {
	return s.put(ctx, key, body)
}
func (s *store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return s.list(ctx, prefix, after)
}
func (s *store) Delete(ctx context.Context, key string) error { return s.del(ctx, key) }
func (s *store) GetIfChanged(ctx context.Context, key, etag string, max int64) ([]byte, string, error) {
	return s.ifChanged(ctx, key, etag, max)
}
func (s *store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	return s.stat(ctx, key)
}

// collect returns what m lists, without the error.
func collect(ctx context.Context, m *memstore.Store, prefix, after string) []objstore.Info {
	var infos []objstore.Info
	for info, err := range m.List(ctx, prefix, after) {
		if err == nil {
			infos = append(infos, info)
		}
	}
	return infos
}

func sequence(infos []objstore.Info) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for _, info := range infos {
			if !yield(info, nil) {
				return
			}
		}
	}
}

// breaks are faults of stores that the suite has to find.
var breaks = map[string]func(s *store, m *memstore.Store){
	"missing object is empty": func(s *store, m *memstore.Store) {
		s.get = func(ctx context.Context, key string, max int64) ([]byte, error) {
			body, err := m.Get(ctx, key, max)
			if errors.Is(err, objstore.ErrNotExist) {
				return nil, nil
			}
			return body, err
		}
	},
	"large object is cut": func(s *store, m *memstore.Store) {
		s.get = func(ctx context.Context, key string, max int64) ([]byte, error) {
			body, err := m.Get(ctx, key, 1<<40)
			return body[:min(int64(len(body)), max)], err
		}
	},
	"bodies over a megabyte lose their end": func(s *store, m *memstore.Store) {
		s.put = func(ctx context.Context, key string, body []byte) error {
			return m.Put(ctx, key, body[:min(len(body), 1<<20)])
		}
	},
	"put in two steps": func(s *store, m *memstore.Store) {
		read := make(chan struct{})
		s.get = func(ctx context.Context, key string, max int64) ([]byte, error) {
			body, err := m.Get(ctx, key, max)
			select {
			case read <- struct{}{}:
			default:
			}
			return body, err
		}
		s.put = func(ctx context.Context, key string, body []byte) error {
			if _, err := m.Stat(ctx, key); err == nil {
				if err := m.Put(ctx, key, body[:len(body)/2]); err != nil {
					return err
				}
				// Whoever reads beside this put sees the half; nobody may be there.
				select {
				case <-read:
				case <-time.After(50 * time.Millisecond):
				}
			}
			return m.Put(ctx, key, body)
		}
	},
	"context ignored": func(s *store, m *memstore.Store) {
		s.put = func(ctx context.Context, key string, body []byte) error {
			return m.Put(context.WithoutCancel(ctx), key, body)
		}
	},
	"keys fold case": func(s *store, m *memstore.Store) {
		s.put = func(ctx context.Context, key string, body []byte) error {
			return m.Put(ctx, strings.ToLower(key), body)
		}
		s.get = func(ctx context.Context, key string, max int64) ([]byte, error) {
			return m.Get(ctx, strings.ToLower(key), max)
		}
	},
	"keys are cleaned": func(s *store, m *memstore.Store) {
		s.put = func(ctx context.Context, key string, body []byte) error {
			return m.Put(ctx, strings.Trim(key, "/"), body)
		}
	},
	"delete of nothing fails": func(s *store, m *memstore.Store) {
		s.del = func(ctx context.Context, key string) error {
			if _, err := m.Stat(ctx, key); err != nil {
				return err
			}
			return m.Delete(ctx, key)
		}
	},
	"delete does nothing": func(s *store, m *memstore.Store) {
		s.del = func(ctx context.Context, key string) error {
			_, err := m.Stat(ctx, key)
			if errors.Is(err, objstore.ErrNotExist) {
				return nil
			}
			return err
		}
	},
	"list begins with after": func(s *store, m *memstore.Store) {
		s.list = func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
			infos := collect(ctx, m, prefix, "")
			return sequence(slices.DeleteFunc(infos, func(i objstore.Info) bool { return i.Key < after }))
		}
	},
	"list ends after a page": func(s *store, m *memstore.Store) {
		s.list = func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
			infos := collect(ctx, m, prefix, after)
			return sequence(infos[:min(len(infos), 1000)])
		}
	},
	"list ends silently with the context": func(s *store, m *memstore.Store) {
		s.list = func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
			return sequence(collect(ctx, m, prefix, after))
		}
	},
	"list takes folders for prefixes": func(s *store, m *memstore.Store) {
		s.list = func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
			return func(yield func(objstore.Info, error) bool) {
				for info, err := range m.List(ctx, prefix[:strings.LastIndexByte(prefix, '/')+1], after) {
					if !yield(info, err) {
						return
					}
				}
			}
		}
	},
	"list sorts folders by name": func(s *store, m *memstore.Store) {
		s.list = func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
			infos := collect(ctx, m, prefix, after)
			slices.SortFunc(infos, func(a, b objstore.Info) int {
				return slices.Compare(strings.Split(a.Key, "/"), strings.Split(b.Key, "/"))
			})
			return sequence(infos)
		}
	},
	"etag is the size": func(s *store, m *memstore.Store) {
		s.ifChanged = func(ctx context.Context, key, etag string, max int64) ([]byte, string, error) {
			body, err := m.Get(ctx, key, max)
			if err != nil {
				return nil, "", err
			}
			next := string(rune('a' + len(body)))
			if next == etag {
				return nil, "", objstore.ErrNotModified
			}
			return body, next, nil
		}
	},
	"stat of a missing object is empty": func(s *store, m *memstore.Store) {
		s.stat = func(ctx context.Context, key string) (objstore.Info, error) {
			info, err := m.Stat(ctx, key)
			if errors.Is(err, objstore.ErrNotExist) {
				return objstore.Info{Key: key}, nil
			}
			return info, err
		}
	},
}

// brokenEnv names the break that a child process of the test below runs the
// suite with.
const brokenEnv = "STORETEST_BREAK"

func TestSuiteFindsBrokenStores(t *testing.T) {
	if name, child := os.LookupEnv(brokenEnv); child {
		storetest.Run(t, func(*testing.T) objstore.Store {
			m := memstore.New()
			s := &store{Store: m, get: m.Get, put: m.Put, list: m.List, del: m.Delete, ifChanged: m.GetIfChanged, stat: m.Stat}
			if name != "" {
				breaks[name](s, m)
			}
			return s
		})
		return
	}
	run := func(name string) (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSuiteFindsBrokenStores$")
		cmd.Env = append(os.Environ(), brokenEnv+"="+name)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run("")
	require.NoError(t, err, out)
	for name := range breaks {
		out, err := run(name)
		require.Error(t, err, "%s: went unnoticed", name)
		require.Contains(t, out, "--- FAIL: TestSuiteFindsBrokenStores/", name)
		require.NotContains(t, out, "panic:", name)
	}
}
