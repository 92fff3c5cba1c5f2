package s3test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// checkSignature verifies the request's signature, version 4, and the hash of
// its body:
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
// It returns the code and text of S3's error, or an empty code.
func (s *Server) checkSignature(r *http.Request) (code, why string) {
	fields, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return "AccessDenied", "the request is not signed"
	}
	auth := make(map[string]string)
	for field := range strings.SplitSeq(fields, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		auth[name] = value
	}
	keyID, scope, _ := strings.Cut(auth["Credential"], "/")
	if keyID != s.AccessKeyID {
		return "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."
	}
	parts := strings.Split(scope, "/")
	if len(parts) != 4 || parts[2] != "s3" || parts[3] != "aws4_request" {
		return "AuthorizationHeaderMalformed", "the credential scope is not date/region/s3/aws4_request"
	}
	payload := r.Header.Get("X-Amz-Content-Sha256")
	if strings.HasPrefix(payload, "STREAMING-") {
		// What many services that are not AWS say of the SDK's checksum trailers.
		return "NotImplemented", "A header you provided implies functionality that is not implemented."
	}

	signed := strings.Split(auth["SignedHeaders"], ";")
	var canonical strings.Builder
	canonical.WriteString(r.Method + "\n" + encodeURI(r.URL.Path, true) + "\n" + canonicalQuery(r.URL.Query()) + "\n")
	for _, name := range signed {
		var value string
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = strconv.FormatInt(r.ContentLength, 10)
		default:
			value = strings.Join(r.Header.Values(name), ",")
		}
		canonical.WriteString(name + ":" + strings.Join(strings.Fields(value), " ") + "\n")
	}
	canonical.WriteString("\n" + auth["SignedHeaders"] + "\n" + payload)

	hash := sha256.Sum256([]byte(canonical.String()))
	toSign := "AWS4-HMAC-SHA256\n" + r.Header.Get("X-Amz-Date") + "\n" + scope + "\n" + hex.EncodeToString(hash[:])
	key := []byte("AWS4" + s.SecretAccessKey)
	for _, part := range parts {
		key = mac(key, part)
	}
	if !slices.Contains(signed, "host") || hex.EncodeToString(mac(key, toSign)) != auth["Signature"] {
		return "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method."
	}

	if payload == "UNSIGNED-PAYLOAD" {
		return "", ""
	}
	if r.ContentLength < 0 {
		return "MissingContentLength", "You must provide the Content-Length HTTP header."
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return "IncompleteBody", "the body was cut: " + err.Error()
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if hash := sha256.Sum256(body); hex.EncodeToString(hash[:]) != payload {
		return "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed."
	}
	return "", ""
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func canonicalQuery(query url.Values) string {
	var pairs []string
	for name, values := range query {
		for _, value := range values {
			pairs = append(pairs, encodeURI(name, false)+"="+encodeURI(value, false))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// encodeURI escapes all but the unreserved characters, and slashes unless
// they are to stay.
func encodeURI(s string, keepSlash bool) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~', c == '/' && keepSlash:
			b.WriteByte(c)
		default:
			b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return b.String()
}
