/** The OpenAPI document, from the fields that read the requests. */
import { asObject, type JsonObject } from '../core/json.js';
import { mostRetries } from '../infer/retries.js';
import type { ServerLimits } from './limits.js';
import type { RequestFields } from './schemas.js';

const error = {
  description: 'an error, as OpenAI writes them',
  content: { 'application/json': { schema: { type: 'object' } } },
};
const json = (schema: JsonObject) => ({ required: true, content: { 'application/json': { schema } } });
const answers = (description: string, type = 'application/json') => ({
  '200': { description, content: { [type]: { schema: { type: type === 'text/plain' ? 'string' : 'object' } } } },
  default: error,
});

const binary = { type: 'string', format: 'binary' };

const readForm = ({ maxTokens, maxPromptLength }: ServerLimits) => ({
  type: 'object',
  properties: {
    image: binary,
    model: { type: 'string' },
    prompt: { type: 'string', maxLength: maxPromptLength },
    max_tokens: { type: 'integer', minimum: 1, maximum: maxTokens },
    retries: { type: 'integer', minimum: 0, maximum: mostRetries },
    stream: { type: 'boolean' },
  },
  required: ['image'],
});

export function openApiDocument(
  { chat, embeddings, classify, search }: RequestFields,
  limits: ServerLimits,
  version: string,
): JsonObject {
  const form = readForm(limits);
  const { image: _, ...settings } = form.properties;
  const query = Object.entries(settings).map(([name, schema]) => ({ name, in: 'query', required: false, schema }));
  const post = (summary: string, schema: JsonObject, description: string) => ({
    post: { summary, requestBody: json(schema), responses: answers(description) },
  });
  const classifyForm = {
    ...classify.schema,
    properties: { ...asObject(classify.schema['properties'], 'classify'), image: binary },
  };
  const get = (summary: string, description: string, type?: string) => ({
    get: { summary, responses: answers(description, type) },
  });
  return {
    openapi: '3.1.0',
    info: { title: 'varyclip', version, summary: 'reads images, embeds them, and finds them' },
    components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
    security: [{ key: [] }],
    paths: {
      '/v1/chat/completions': post(
        'read the picture of a conversation',
        chat.schema,
        'a chat completion, or its events',
      ),
      '/v1/embeddings': post(
        'unit vectors of texts and images',
        embeddings.schema,
        'vectors in the order of the input',
      ),
      '/v1/classify': {
        post: {
          summary: 'which of the labels an image shows',
          requestBody: {
            required: true,
            content: {
              'application/json': { schema: classify.schema },
              'multipart/form-data': { schema: classifyForm },
            },
          },
          responses: answers('labels by falling score'),
        },
      },
      '/v1/search': post('pictures of the index', search.schema, 'pictures by falling score'),
      '/v1/read': {
        post: {
          summary: 'the text of an image, with its lines and their places',
          parameters: query,
          requestBody: {
            required: true,
            content: {
              'multipart/form-data': { schema: form },
              'application/octet-stream': { schema: binary },
              'image/*': { schema: binary },
            },
          },
          responses: answers('the text, or its events'),
        },
      },
      '/v1/models': get('the models', 'a list'),
      '/v1/models/{id}': {
        get: {
          ...get('one of the models', 'the model').get,
          parameters: [{ name: 'id', in: 'path', required: true, schema: { type: 'string' } }],
        },
      },
      '/metrics': get('counters', 'Prometheus text', 'text/plain'),
      '/openapi.json': get('this document', 'the document'),
      '/health': { get: { ...get('whether requests are taken', 'ready').get, security: [] } },
    },
  };
}
