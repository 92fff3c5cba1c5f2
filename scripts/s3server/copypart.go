package main

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"net/http"
	"strings"
	"time"
)

// copyParts answers UploadPartCopy, which gofakes3 does not know and some of the programs
// need: it reads what is to be copied and uploads it as the part.
func copyParts(s3 http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		source := r.Header.Get("X-Amz-Copy-Source")
		if source == "" || r.Method != http.MethodPut || !r.URL.Query().Has("partNumber") {
			s3.ServeHTTP(w, r)
			return
		}
		get, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+r.Host+"/"+strings.TrimPrefix(source, "/"), nil)
		if err != nil {
			http.Error(w, "x-amz-copy-source: "+err.Error(), http.StatusBadRequest)
			return
		}
		if span := r.Header.Get("X-Amz-Copy-Source-Range"); span != "" {
			get.Header.Set("Range", span)
		}
		read := &answer{header: http.Header{}, status: http.StatusOK}
		s3.ServeHTTP(read, get)
		if read.status >= 300 {
			w.WriteHeader(read.status)
			_, _ = w.Write(read.body.Bytes()) // the client went away
			return
		}
		put := r.Clone(r.Context())
		put.Header.Del("X-Amz-Copy-Source")
		put.Header.Del("X-Amz-Copy-Source-Range")
		put.Header.Set("Content-Length", fmt.Sprint(read.body.Len()))
		put.ContentLength = int64(read.body.Len())
		put.Body = io.NopCloser(&read.body)
		part := &answer{header: http.Header{}, status: http.StatusOK}
		s3.ServeHTTP(part, put)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(part.status)
		if part.status >= 300 {
			_, _ = w.Write(part.body.Bytes()) // the client went away
			return
		}
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><CopyPartResult><ETag>%s</ETag><LastModified>%s</LastModified></CopyPartResult>`,
			html.EscapeString(part.header.Get("ETag")), time.Now().UTC().Format(time.RFC3339))
	})
}

// answer keeps an answer in memory: a part has 5 GiB at most, those of the programs a few MiB.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }
