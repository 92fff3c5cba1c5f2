package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// What the SDK reaches through the same proxy without a file system: no sequential
// throughput of a mount can be more.
var (
	limitPut = row{"limit: SDK, parallel PUTs", "MB/s", true}
	limitGet = row{"limit: SDK, parallel GETs", "MB/s", true}
)

const (
	limitObject   = 4 << 20
	limitParallel = 32
)

func (b *bench) client(endpoint string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(endpoint), UsePathStyle: true, Region: b.Region,
		Credentials:                credentials.NewStaticCredentialsProvider(b.AccessKey, b.SecretKey, ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
}

// makePrefix makes the object of the directory that a mount of a prefix may ask for, and
// with it the bucket of a service of our own.
func (b *bench) makePrefix(ctx context.Context, endpoint, bucket, prefix string) error {
	_, err := b.client(endpoint).PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &prefix, ContentType: aws.String("application/x-directory"), Body: bytes.NewReader(nil)})
	return err
}

// removePrefix deletes what a run has written to somebody's service. One of our own ends with it.
func (b *bench) removePrefix(ctx context.Context, endpoint, bucket, prefix string) error {
	if b.Endpoint == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeLimit) // also after Ctrl-C
	defer cancel()
	b.Say("removing " + prefix)
	client := b.client(endpoint)
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("remove what was written below %s in bucket %s: %w", prefix, bucket, err)
		}
		_, _, err = each(ctx, len(page.Contents), limitParallel, removeLimit, func(_, i int) error {
			_, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: page.Contents[i].Key})
			return err
		})
		if err != nil {
			return fmt.Errorf("remove what was written below %s in bucket %s: %w", prefix, bucket, err)
		}
	}
	return nil
}

// removeLimit bounds removePrefix.
const removeLimit = 2 * time.Minute

// measureLimits writes and reads as many bytes as the large file has, several times.
func (b *bench) measureLimits(ctx context.Context, t *Table, latency time.Duration) (err error) {
	b.Say(fmt.Sprintf("%v, limits: the SDK", latency))
	service, err := b.service(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, service.close()) }()
	p, err := startProxy(service.url, latency, b.Rate)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	client, bucket := b.client(p.url), b.Bucket
	if bucket == "" {
		bucket = "bench"
	}
	prefix := fmt.Sprintf("pocket-bench-limit-%d/", time.Now().UnixNano())
	if err := b.makePrefix(ctx, service.url, bucket, prefix); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.removePrefix(ctx, service.url, bucket, prefix)) }()
	n := max(1, int(float64(largeSize)*b.Scale)/limitObject)
	body := make([]byte, limitObject)
	random(body)
	rate := func(do func(key *string) error) (float64, error) {
		_, took, err := each(ctx, n, limitParallel, time.Hour, func(_, i int) error {
			return do(aws.String(fmt.Sprintf("%s%05d", prefix, i)))
		})
		return float64(n) * limitObject / 1e6 / took.Seconds(), err
	}
	var puts, gets []float64
	for range 3 {
		v, err := rate(func(key *string) error {
			_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: key, Body: bytes.NewReader(body)})
			return err
		})
		if err != nil {
			return fmt.Errorf("limit: %w", err)
		}
		puts = append(puts, v)
		v, err = rate(func(key *string) error {
			out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: key})
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, out.Body)
			return errors.Join(err, out.Body.Close())
		})
		if err != nil {
			return fmt.Errorf("limit: %w", err)
		}
		gets = append(gets, v)
	}
	t.Limits = &Limits{PutMBs: median(puts), GetMBs: median(gets), Parallel: limitParallel, ObjectBytes: limitObject}
	return nil
}
